def interactive_chat():
    """Interactive chat interface with streaming."""
    
    messages = [
        {"role": "system", "content": "You are a helpful assistant."}
    ]
    
    print("Chat with Inferneo (type 'quit' to exit)")
    print("-" * 50)
    
    while True:
        user_input = input("\nYou: ")
        
        if user_input.lower() == 'quit':
            break
        
        # Add user message
        messages.append({"role": "user", "content": user_input})
        
        # Stream response
        print("Assistant: ", end="", flush=True)
        
        try:
            stream = client.chat.completions.create(
                model="meta-llama/Llama-2-7b-chat-hf",
                messages=messages,
                max_tokens=200,
                temperature=0.7,
                stream=True
            )
            
            assistant_response = ""
            
            for chunk in stream:
                if chunk.choices[0].delta.content is not None:
                    content = chunk.choices[0].delta.content
                    assistant_response += content
                    print(content, end="", flush=True)
            
            # Add assistant response to conversation
            messages.append({"role": "assistant", "content": assistant_response})
            
        except Exception as e:
            print(f"\nError: {e}")

# Usage
interactive_chat()
