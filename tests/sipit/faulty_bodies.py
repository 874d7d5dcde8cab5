"""Bodies that do not do what they are asked: arguments ignored, renamed or left undone."""

import copy
import hashlib
import inspect
from dataclasses import replace
from functools import cache, partial

from sipit.models.tiny import tiny_module, tiny_tokenizer
from tests.sipit.cases import language_model, tiny

MEMORIES = {"past_key_values", "cache", "cache_params"}


def forgets_beyond_twelve(forward):
    """A cache that works on a short prompt, and loses what is older than twelve tokens."""
    name = memory_argument()

    def wrapped(input_ids=None, **arguments):
        memory = arguments.get(name)
        if memory is not None and memory.get_seq_length() > 12:
            memory.crop(-1)  # the newest one, again and again
        return forward(input_ids=input_ids, **arguments)

    return wrapped


def wrapped_model(family, *wraps):
    module = copy.deepcopy(tiny_module(family, seed=0))
    wrap_body(module, *wraps)
    model = language_model(module, tokenizer=tiny_tokenizer(family), name="wrapped")
    # What is kept of the same weights in an honest body is not taken for it.
    names = repr([model.digest, *(wrap.__name__ for wrap in wraps)])
    return replace(model, digest=hashlib.sha256(names.encode()).hexdigest())


@cache
def memory_argument():
    """What this release calls the argument that takes a cache."""
    parameters = inspect.signature(tiny("llama").decoder.body.forward).parameters
    return next(name for name in parameters if name in MEMORIES)


def ignores_everything(forward):
    return lambda input_ids=None, **_arguments: forward(input_ids=input_ids)


def ignores_its_memory(forward):
    return ignores(*MEMORIES)(forward)


def renames_its_memory(forward):
    known = memory_argument()

    def wrapped(input_ids=None, attention_mask=None, position_ids=None, what_came_before=None, **others):
        others = {name: value for name, value in others.items() if name not in MEMORIES}
        given = {"attention_mask": attention_mask, "position_ids": position_ids, known: what_came_before}
        return forward(input_ids=input_ids, **{k: v for k, v in given.items() if v is not None}, **others)

    return wrapped


def returns_its_memory_unfilled(forward):
    from transformers.cache_utils import DynamicCache

    def wrapped(input_ids=None, **arguments):
        output = forward(input_ids=input_ids, **arguments)
        for name in MEMORIES & set(output):
            output[name] = DynamicCache()
        return output

    return wrapped


def refuses_what_it_does_not_know(forward):
    return lambda input_ids: forward(input_ids=input_ids)


def counts_positions_from_seven(forward):
    def wrapped(input_ids=None, position_ids=None, **arguments):
        return forward(
            input_ids=input_ids, position_ids=None if position_ids is None else position_ids + 7, **arguments
        )

    return wrapped


def wrap_body(module, *wraps):
    body = module.get_decoder()
    for wrap in wraps:
        body.__class__ = wrapped_class(type(body), wrap)


def ignores(*names):
    """A body that swallows some arguments, as libraries swallow those that they have renamed."""

    def wrap(forward):
        def wrapped(input_ids=None, **arguments):
            return forward(input_ids=input_ids, **{k: v for k, v in arguments.items() if k not in names})

        return wrapped

    wrap.__name__ = f"ignores {names}"
    return wrap


def wrapped_class(base, wrap):
    """The class of a body that calls its forward through a wrapper; copies of it do so too."""

    def forward(self, *arguments, **named):
        return wrap(partial(base.forward, self))(*arguments, **named)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    told = inspect.signature(wrap(lambda **_named: None)).parameters.values()
    forward.__signature__ = inspect.Signature([own, *told])
    return type(base.__name__, (base,), {"forward": forward})


FAULTS = {
    fault.__name__: fault
    for fault in (
        ignores_everything, ignores_its_memory, renames_its_memory, returns_its_memory_unfilled,
        refuses_what_it_does_not_know, counts_positions_from_seven,
    )
}  # fmt: skip
FAULTS |= {f"ignores {name}": ignores(name) for name in ("attention_mask", "position_ids", "use_cache")}
# The class around a body that takes nothing but ids cannot run it.
RUN = sorted(set(FAULTS) - {"refuses_what_it_does_not_know"})
