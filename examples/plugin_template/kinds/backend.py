"""A backend that expects what most often came after the last character so far."""

from itertools import pairwise

import numpy as np
from attrs import field, frozen, validators

from egcfg import Answer, Capabilities, Continuation, LogprobBackend, Logprobs, Usage
from egcfg.decoding.sampling import sample_token
from egcfg.errors import CapabilityError, ContextOverflowError

END = 128


@frozen
class Options:
    """Options of the model.

    Attributes:
        context_length: tokens of prompt and answer together.
    """

    context_length: int = field(default=4096, validator=validators.ge(1))


class BigramBackend(LogprobBackend):
    """Its tokens are the characters of ASCII, and one more that ends a sequence."""

    Options = Options
    model_name = "bigram"
    end_ids = frozenset({END})

    def __init__(self, options):
        self.options = options

    @property
    def capabilities(self):
        """What the model can do; asked after `open`."""
        return Capabilities(chat=False, context_length=self.options.context_length)

    async def encode(self, prompt):
        """Return the token ids of a prompt."""
        if not hasattr(prompt, "parts"):
            raise CapabilityError("the bigram model takes no chats; choose --prompt completion")
        return Answer(tuple(prompt.text.encode("ascii", "replace")))

    async def decode(self, ids):
        """Return the text of generated tokens."""
        return Answer("".join("<end>" if each == END else chr(each) for each in ids))

    async def count_tokens(self, text):
        """Return how many tokens a text takes."""
        return Answer(len(text))

    async def score(self, requests):
        """Return, per request, a distribution after `ids` and after each token of `draft`."""
        answers = []
        for request in requests:
            ids, first = request.ids + request.draft, len(request.ids)
            self._check_length(len(ids))
            answers.append([_distribution(ids[:end]) for end in range(first, len(ids) + 1)])
        return Answer(answers, Usage(forward_passes=1, forward_tokens=sum(map(len, answers))))

    async def sample(self, requests):
        """Return, per request, so many continuations."""
        answers = [[self._continue(r, row) for row in range(r.count)] for r in requests]
        tokens = sum(len(each.ids) + each.finished for answer in answers for each in answer)
        return Answer(answers, Usage(forward_passes=tokens, output_tokens=tokens))

    def _continue(self, request, row):
        params = request.params
        random = np.random.default_rng([params.seed, row]).random
        ids, text = (), ""
        while len(ids) < params.max_tokens:
            self._check_length(len(request.ids) + len(ids) + 1)
            distribution = _distribution(request.ids + ids)
            token = sample_token(distribution, params.temperature, params.top_p, random)
            if token == END:
                return Continuation(ids=ids, text=text, finished=True)
            ids, text = (*ids, token), text + chr(token)
            lines = text.count("\n")
            if lines == params.max_lines or any(stop in text for stop in params.stop):
                break
        return Continuation(ids=ids, text=text)

    def _check_length(self, needed):
        if needed > self.options.context_length:
            raise ContextOverflowError(needed, self.options.context_length)


def _distribution(ids):
    counts = np.ones(END + 1)
    for before, after in pairwise(ids):
        counts[after] += 8 * (before == ids[-1])
    return Logprobs(np.log(counts / counts.sum()))
