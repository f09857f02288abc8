import time
from collections import deque

class StreamingMetrics:
    def __init__(self):
        self.start_time = None
        self.tokens_received = 0
        self.token_times = deque(maxlen=100)
        self.last_token_time = None
    
    def start(self):
        """Start timing the stream."""
        self.start_time = time.time()
        self.last_token_time = self.start_time
    
    def on_token(self, token):
        """Record token timing."""
        current_time = time.time()
        
        if self.last_token_time is not None:
            token_interval = current_time - self.last_token_time
            self.token_times.append(token_interval)
        
        self.tokens_received += 1
        self.last_token_time = current_time
    
    def get_metrics(self):
        """Get streaming performance metrics."""
        if self.start_time is None:
            return None
        
        total_time = time.time() - self.start_time
        
        metrics = {
            "total_tokens": self.tokens_received,
            "total_time": total_time,
            "tokens_per_second": self.tokens_received / total_time if total_time > 0 else 0,
            "average_token_interval": sum(self.token_times) / len(self.token_times) if self.token_times else 0
        }
        
        return metrics

def stream_with_metrics(prompt):
    """Stream with performance monitoring."""
    
    metrics = StreamingMetrics()
    metrics.start()
    
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
            metrics.on_token(token)
            print(token, end="", flush=True)
    
    # Print metrics
    performance_metrics = metrics.get_metrics()
    print(f"\n\nPerformance Metrics:")
    print(f"Total tokens: {performance_metrics['total_tokens']}")
    print(f"Total time: {performance_metrics['total_time']:.2f} seconds")
    print(f"Tokens per second: {performance_metrics['tokens_per_second']:.2f}")
    print(f"Average token interval: {performance_metrics['average_token_interval']*1000:.2f} ms")
    
    return full_response

# Usage
response = stream_with_metrics("Explain the benefits of streaming responses.")
