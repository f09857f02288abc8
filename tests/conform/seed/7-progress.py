from tqdm import tqdm

def stream_with_progress_bar(prompt, max_tokens=200):
    """Stream with progress bar showing generation progress."""
    
    stream = client.completions.create(
        model="meta-llama/Llama-2-7b-chat-hf",
        prompt=prompt,
        max_tokens=max_tokens,
        temperature=0.7,
        stream=True
    )
    
    full_response = ""
    tokens_generated = 0
    
    # Create progress bar
    with tqdm(total=max_tokens, desc="Generating", unit="tokens") as pbar:
        for chunk in stream:
            if chunk.choices[0].text is not None:
                token = chunk.choices[0].text
                full_response += token
                tokens_generated += 1
                pbar.update(1)
                
                # Update progress bar description
                pbar.set_description(f"Generated {tokens_generated} tokens")
    
    return full_response

# Usage
response = stream_with_progress_bar("Explain the concept of neural networks.")
print(f"\nFinal response: {response}")
