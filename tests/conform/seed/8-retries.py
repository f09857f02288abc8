def robust_streaming(prompt, max_retries=3):
    """Stream with error handling and retries."""
    
    for attempt in range(max_retries):
        try:
            stream = client.completions.create(
                model="meta-llama/Llama-2-7b-chat-hf",
                prompt=prompt,
                max_tokens=200,
                temperature=0.7,
                stream=True
            )
            
            full_response = ""
            
            for chunk in stream:
                if chunk.choices[0].text is not None:
                    token = chunk.choices[0].text
                    full_response += token
                    print(token, end="", flush=True)
            
            return full_response
            
        except Exception as e:
            print(f"\nAttempt {attempt + 1} failed: {e}")
            
            if attempt == max_retries - 1:
                print("All retry attempts failed")
                return None
            else:
                print("Retrying...")
                time.sleep(2 ** attempt)  # Exponential backoff

# Usage
response = robust_streaming("Write a short story about space exploration.")
