"""vqaflow: from a table of images, questions and choices to a validated submission."""

import logging
import warnings

# What libraries say about their own parts while they load, and no user can act on.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a CPU kernel that it could fetch from a hub
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)  # PEFT's use of it
