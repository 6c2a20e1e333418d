"""Load scenarios for Locust: `locust -f loadtest/locust/openai_chat.py --host http://gateway`."""
