import asyncio
import websockets
import json

async def stream_with_websocket():
    """Stream using WebSocket connection."""
    
    uri = "ws://localhost:8000/v1/chat/completions"
    
    async with websockets.connect(uri) as websocket:
        # Send streaming request
        message = {
            "model": "meta-llama/Llama-2-7b-chat-hf",
            "messages": [{"role": "user", "content": "Tell me a story."}],
            "stream": True,
            "max_tokens": 200
        }
        
        await websocket.send(json.dumps(message))
        
        # Receive streaming response
        full_response = ""
        
        async for response in websocket:
            data = json.loads(response)
            
            if "choices" in data and len(data["choices"]) > 0:
                delta = data["choices"][0].get("delta", {})
                
                if "content" in delta:
                    content = delta["content"]
                    full_response += content
                    print(content, end="", flush=True)
                
                # Check if streaming is complete
                if data["choices"][0].get("finish_reason") is not None:
                    break
        
        print(f"\n\nFull response: {full_response}")

# Run the async function
asyncio.run(stream_with_websocket())
