"""Models of the hub, or of a folder; and what to do where the hub cannot be reached."""

from __future__ import annotations

from typing import Any


def load_pretrained(auto_class: Any, name: str, **options: Any) -> Any:
    """``auto_class.from_pretrained`` with an error that says what to do.

    Weights come from safetensors files alone, so loading executes no code.

    Args:
        auto_class: such as ``transformers.AutoModelForSemanticSegmentation``.
        name: hub name, or a folder with a downloaded model.

    Raises:
        ValueError: the model is not there and cannot be fetched, or is of another kind.
    """
    try:
        return auto_class.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{auto_class.__name__} could not load '{name}': {reason}\n"
            "If this machine cannot reach huggingface.co: on one that can, run\n"
            f"  hf download {name} --local-dir {name.rstrip('/').rpartition('/')[2]}\n"
            "copy the folder here (config.json, preprocessor_config.json, model.safetensors, and "
            "the tokenizer's files if there are any), and give its path instead of the name."
        ) from error
