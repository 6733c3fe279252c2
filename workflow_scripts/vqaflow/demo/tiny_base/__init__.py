"""The demo's tiny base model, pre-trained on generated pictures and questions."""
