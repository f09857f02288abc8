"""Questions that come by MQTT, and answers that go the same way."""
