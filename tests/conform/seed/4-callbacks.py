class StreamingCallback:
    def __init__(self):
        self.full_response = ""
        self.tokens_received = 0
        self.start_time = time.time()
    
    def on_token(self, token):
        """Called for each token received."""
        self.full_response += token
        self.tokens_received += 1
        print(token, end="", flush=True)
    
    def on_complete(self):
        """Called when streaming is complete."""
        end_time = time.time()
        generation_time = end_time - self.start_time
        
        print(f"\n\nStreaming completed:")
        print(f"Total tokens: {self.tokens_received}")
        print(f"Generation time: {generation_time:.2f} seconds")
        print(f"Tokens per second: {self.tokens_received/generation_time:.2f}")

def stream_with_callback(client, messages, callback):
    """Stream with custom callback handling."""
    
    stream = client.chat.completions.create(
        model="meta-llama/Llama-2-7b-chat-hf",
        messages=messages,
        max_tokens=200,
        stream=True
    )
    
    for chunk in stream:
        if chunk.choices[0].delta.content is not None:
            callback.on_token(chunk.choices[0].delta.content)
    
    callback.on_complete()
    return callback.full_response

# Usage
callback = StreamingCallback()
messages = [{"role": "user", "content": "Write a poem about technology."}]

response = stream_with_callback(client, messages, callback)
