"""A tiny random Llama with a real tokenizer, for tests that must not wait for a real model.

It writes nonsense, but everything around the weights is real: key/value heads, rotary positions,
byte-level BPE whose tokens fuse a newline with the indent after it, a chat template, end tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from egcfg_backends_hf.loading.gguf import quiet_transformers

__all__ = ["CHAT_TEMPLATE", "CONTEXT_LENGTH", "build_tiny_llama", "build_tiny_tokenizer"]

CONTEXT_LENGTH = 4096
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_VOCABULARY_SIZE = 384
_NEWLINE = "\u010a"  # as byte-level BPE spells it
_WORDS = r"\n[ ]*| ?\w+| ?[^\s\w]+|\s+"
_TRAINING_TEXT = '''\
def add(first, second):
    """Return the sum of two numbers."""
    return first + second


def is_prime(number):
    if number < 2:
        return False
    for divisor in range(2, int(number ** 0.5) + 1):
        if number % divisor == 0:
            return False
    return True


def count_words(text):
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def flatten(rows):
    result = []
    for row in rows:
        for item in row:
            result.append(item)
    return result


assert add(2, 3) == 5
assert is_prime(7)
assert count_words("a b a") == {"a": 2, "b": 1}
assert flatten([[1], [2, 3]]) == [1, 2, 3]
'''


def build_tiny_llama(folder: Path, *, seed: int = 0, dtype: str = "float64") -> Path:
    """Save a tiny, randomly initialised Llama and its tokenizer.

    Two layers, hidden size 64, four heads with two key/value heads, a vocabulary of 384 and a
    context of 4096 tokens; a forward pass takes milliseconds. Weights are scaled so that the
    next-token distributions are far from flat and depend on the whole prefix.

    Args:
        folder: where to save it; made if missing.
        seed: of the weights; torch's own random state is left as it was.
        dtype: of the saved weights: float64 lets cached and uncached runs be compared closely.

    Returns:
        `folder`, which is what the backend's option ``model`` takes.
    """
    tokenizer = build_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(getattr(torch, dtype))
        model.lm_head.weight.data.mul_(2.0)
        # Longer rows win more often: lines end after some ten tokens, as those of code do.
        breaks = [i for token, i in tokenizer.get_vocab().items() if _NEWLINE in token]
        model.lm_head.weight.data[breaks] *= 1.75
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def build_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: every text round-trips, ``"\\n    "`` is one token."""
    tokenizer = Tokenizer(models.BPE())
    # The usual split of text into words would leave the indent's last space to the next word.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_SIZE,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TRAINING_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
