def process_stream_with_metadata(stream):
    """Process stream with additional metadata."""
    
    full_response = ""
    tokens_generated = 0
    start_time = time.time()
    
    for chunk in stream:
        if chunk.choices[0].delta.content is not None:
            content = chunk.choices[0].delta.content
            full_response += content
            tokens_generated += 1
            
            # Print with metadata
            print(f"[Token {tokens_generated}] {content}", end="", flush=True)
    
    end_time = time.time()
    generation_time = end_time - start_time
    
    print(f"\n\nGeneration completed:")
    print(f"Total tokens: {tokens_generated}")
    print(f"Generation time: {generation_time:.2f} seconds")
    print(f"Tokens per second: {tokens_generated/generation_time:.2f}")
    
    return full_response

# Usage
stream = client.chat.completions.create(
    model="meta-llama/Llama-2-7b-chat-hf",
    messages=[{"role": "user", "content": "Explain machine learning step by step."}],
    max_tokens=200,
    stream=True
)

response = process_stream_with_metadata(stream)
