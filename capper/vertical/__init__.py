"""VerticalPodAutoscalers beside the capper: what they will change, and what they must not."""
