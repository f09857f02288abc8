# Stream text completion
stream = client.completions.create(
    model="meta-llama/Llama-2-7b-chat-hf",
    prompt="Explain quantum computing in detail:",
    max_tokens=300,
    temperature=0.7,
    stream=True
)

# Process streaming response
for chunk in stream:
    if chunk.choices[0].text is not None:
        print(chunk.choices[0].text, end="", flush=True)
