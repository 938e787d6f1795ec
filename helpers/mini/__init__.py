"""Mini-Mistral: its text, its training, its card, and the files themselves."""
