"""Generated text in pieces -> reasoning, content and calls of tools, as OpenAI's deltas have them; and what `tool_choice` asks for.

How a piece of text is judged:

- Calls are structured as they are generated: the first delta of a call has its index, id and name, those that follow
  a piece of the arguments each. Joined, the arguments are the text that was generated.
- Arguments that a model writes as JSON are read so; those in another notation come whole, once the call is complete.
- Inside arguments in JSON only brackets and strings are read. A model may write JSON that isn't; its caller sees it, as
  with any other service.
- Text that looked like a call and wasn't is content, to the letter. Blank text between calls is dropped.
- After an opening tag a tool of any name is called: the caller must see what the model tried. Without a tag, where a
  style allows that, it is a call only if it opens the answer, names a tool of the request and has arguments.
- How the text is cut into pieces changes nothing.
"""
