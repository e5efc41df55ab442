"""Figures: what the node, its pods and their containers use, and what the agent itself does."""
