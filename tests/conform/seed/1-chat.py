from inferneo import InferneoClient

client = InferneoClient("http://localhost:8000")

# Stream chat completion
stream = client.chat.completions.create(
    model="meta-llama/Llama-2-7b-chat-hf",
    messages=[{"role": "user", "content": "Write a short story about a robot."}],
    max_tokens=200,
    stream=True
)

# Process streaming response
for chunk in stream:
    if chunk.choices[0].delta.content is not None:
        print(chunk.choices[0].delta.content, end="", flush=True)
