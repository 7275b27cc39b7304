"""What ONNX Runtime does with tokens: hashes, words made of letters, repetitions, copies of the source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from onnxsal.importer.operator import Host, op
from onnxsal.importer.packed import Requests

DOMAIN = "com.microsoft"


@op("VarlenNGramHashMapping", domain=DOMAIN, gradient=False)
def varlen_n_gram_hash_mapping(
    input_ids: Tensor,
    multipliers: Tensor,
    vocab_sizes: Tensor,
    cumulative_sequence_length: Tensor,
    past_ids: Tensor | None = None,
    head_offsets: Tensor | None = None,
    eos_token_id: Tensor | None = None,
    segment_ids: Tensor | None = None,
    past_segment_ids: Tensor | None = None,
    capture_count: Tensor | None = None,
    *,
    max_ngram_size: int,
    n_head_per_ngram: int,
    pad_id: int,
    reset_on_eos: int = 0,
    state_update_capacity: int = 0,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Hash each token with those before it, two of them up to a largest number, once for each head.

    The tokens of several requests lie one behind the other.
    """
    before = max_ngram_size - 1
    requests = Requests(cumulative_sequence_length, input_ids.shape[0], before)
    count = len(requests.starts)
    pad = torch.full((), pad_id, dtype=input_ids.dtype, device=input_ids.device)
    nothing = pad if eos_token_id is None else eos_token_id.reshape(())
    earlier = nothing.expand(count, before) if past_ids is None else past_ids
    ids = [requests.at(input_ids, earlier, requests.owners, requests.places - back) for back in range(max_ngram_size)]
    apart = [torch.zeros_like(ids[0], dtype=torch.bool)] * max_ngram_size
    known = None
    if segment_ids is not None:
        first = segment_ids[requests.starts].unsqueeze(1).expand(-1, before)
        known = first if past_segment_ids is None else past_segment_ids
        segments = [
            requests.at(segment_ids, known, requests.owners, requests.places - b) for b in range(max_ngram_size)
        ]
        apart = [apart[0], *(new != old for new, old in pairwise(segments))]
    ends_here = eos_token_id is not None and bool(reset_on_eos)
    hashes = _hashes(ids, apart, nothing, ends_here, multipliers, vocab_sizes.reshape(before, n_head_per_ngram))
    y = torch.cat(list(hashes), 1)
    y = y if head_offsets is None else y + head_offsets
    captured = None
    if capture_count is not None:
        slots = torch.arange(1, state_update_capacity + 1, device=input_ids.device).expand(count, -1)
        kept = slots <= torch.minimum(capture_count.long(), requests.lengths).unsqueeze(1)
        captured = torch.where(kept.unsqueeze(2), requests.last(input_ids, earlier, slots), pad)
    present = None if known is None or segment_ids is None else requests.last(segment_ids, known, requests.lengths)
    return y, requests.last(input_ids, earlier, requests.lengths), present, captured


def _hashes(
    ids: list[Tensor], apart: list[Tensor], nothing: Tensor, resets: bool, multipliers: Tensor, sizes: Tensor
) -> Iterator[Tensor]:
    """Yield the hashes of two tokens, three, and so on; behind a boundary stands nothing."""
    mixed, cut = ids[0] * multipliers[0], apart[0]
    for back, (token, boundary) in enumerate(zip(ids[1:], apart[1:], strict=True), 1):
        cut = cut | boundary | (token == nothing) if resets else cut | boundary
        mixed = mixed ^ (torch.where(cut, nothing, token) * multipliers[back])
        yield torch.remainder(mixed.unsqueeze(1), sizes[back - 1])


@op("NGramHashMapping", domain=DOMAIN, gradient=False)
def n_gram_hash_mapping(
    input_ids: Tensor,
    multipliers: Tensor,
    vocab_sizes: Tensor,
    past_ids: Tensor | None = None,
    head_offsets: Tensor | None = None,
    eos_token_id: Tensor | None = None,
    segment_ids: Tensor | None = None,
    *,
    max_ngram_size: int,
    n_head_per_ngram: int,
    pad_id: int,
    reset_on_eos: int = 0,
) -> tuple[Tensor, Tensor]:
    """Hash each token with those before it, two of them up to a largest number, once for each head."""
    batch, steps = input_ids.shape
    ends = torch.arange(batch + 1, device=input_ids.device) * steps
    y, present, _, _ = varlen_n_gram_hash_mapping(
        input_ids.reshape(-1), multipliers, vocab_sizes, ends, past_ids, head_offsets, eos_token_id,
        None if segment_ids is None else segment_ids.reshape(-1),
        max_ngram_size=max_ngram_size, n_head_per_ngram=n_head_per_ngram, pad_id=pad_id, reset_on_eos=reset_on_eos,
    )  # fmt: skip
    return y.reshape(batch, steps, -1), present


@op("NGramRepeatBlock", domain=DOMAIN)
def n_gram_repeat_block(input_ids: Tensor, scores: Tensor, *, ngram_size: int) -> Tensor:
    """Make impossible what would repeat a run of tokens."""
    if input_ids.shape[1] < ngram_size:
        return scores
    runs = input_ids.unfold(1, ngram_size, 1)
    last = input_ids[:, input_ids.shape[1] - ngram_size + 1 :].unsqueeze(1)
    repeats = (runs[..., :-1] == last).all(-1)
    blocked = torch.zeros_like(scores, dtype=torch.int64).scatter_add(1, runs[..., -1], repeats.long())
    return scores.masked_fill(blocked > 0, float("-inf"))


@op("BifurcationDetector", domain=DOMAIN, gradient=False)
def bifurcation_detector(
    src_tokens: Host,
    cur_tokens: Host,
    prev_suffix_match_idx: Host,
    pred_tokens: Host | None = None,
    *,
    max_ngram_size: int = 3,
    min_ngram_size: int = 1,
) -> tuple[Host, Host]:
    """Append what was predicted up to where it leaves the source, and find where the source goes on from there."""
    tokens = list(cur_tokens)
    if pred_tokens is not None:
        guessed = src_tokens[int(prev_suffix_match_idx.reshape(-1)[0]) :]
        agrees = pred_tokens[: len(guessed)] == guessed[: len(pred_tokens)]
        until = len(agrees) if agrees.all() else int(agrees.argmin())
        tokens += list(pred_tokens[: until + 1])
    match = -1
    for length in range(min_ngram_size, max_ngram_size + 1):
        if length > len(tokens):
            break
        places = [
            i for i in range(len(src_tokens) - length + 1) if list(src_tokens[i : i + length]) == tokens[-length:]
        ]
        if not places:
            break
        match = places[0] + length if len(places) == 1 else -1
        if match >= 0:
            break
    return np.array(tokens, cur_tokens.dtype), np.array(match, np.int64)


@op("DynamicTimeWarping", domain=DOMAIN, gradient=False)
def dynamic_time_warping(input: Host) -> Host:
    """Return the cheapest way through a matrix of costs from its first corner to its last."""
    rows, columns = (int(size) for size in input.shape[-2:])
    costs = input.reshape(rows, columns).astype(np.float32)
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    total[0, 0] = 0
    came = np.zeros((rows, columns), np.int8)
    for r in range(rows):
        for c in range(columns):
            ways = total[r, c], total[r, c + 1], total[r + 1, c]
            cheapest = [way for way in range(3) if ways[way] == min(ways)]
            came[r, c] = cheapest[0] if len(cheapest) == 1 else 2  # as Whisper chooses among equal ones
            total[r + 1, c + 1] = costs[r, c] + ways[came[r, c]]
    path: list[tuple[int, int]] = []
    r, c = rows - 1, columns - 1
    while r >= 0 and c >= 0:
        path.append((r, c))
        r, c = r - (came[r, c] != 2), c - (came[path[-1]] != 1)
    return np.array(path[::-1], np.int32).T


@op("MurmurHash3", domain=DOMAIN, gradient=False)
def murmur_hash(x: Host, *, positive: int = 1, seed: int = 0) -> Host:
    """Hash each number or text to 32 bits (MurmurHash3 of Austin Appleby, its x86 form of 32 bits)."""
    if x.dtype.kind in "OUS":
        keys = [str(text).encode() for text in x.flat]
    else:
        keys = [value.tobytes() for value in x.astype(x.dtype.newbyteorder("<")).flat]
    hashes = np.array([_murmur(key, seed & 0xFFFFFFFF) for key in keys], np.uint32).reshape(x.shape)
    return hashes if positive else hashes.view(np.int32)


def _murmur(key: bytes, state: int) -> int:
    words = range(0, len(key) - 3, 4)
    for start in words:
        state ^= _stirred(int.from_bytes(key[start : start + 4], "little"))
        state = (_turned(state, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    state ^= _stirred(int.from_bytes(key[4 * len(words) :], "little")) ^ len(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = ((state ^ (state >> shift)) * factor) & 0xFFFFFFFF
    return state ^ (state >> 16)


def _stirred(word: int) -> int:
    return (_turned((word * 0xCC9E2D51) & 0xFFFFFFFF, 15) * 0x1B873593) & 0xFFFFFFFF


def _turned(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & 0xFFFFFFFF


@op("WordConvEmbedding", domain=DOMAIN)
def word_conv_embedding(
    sequence: Tensor,
    w: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    char_embedding_size: int | None = None,
    conv_window_size: int | None = None,
    embedding_size: int | None = None,
) -> Tensor:
    """Embed each word by its letters: convolve their embeddings, keep the largest of each feature.

    Words are rows of letters, filled up with zeros.
    """
    del char_embedding_size, conv_window_size, embedding_size  # the weights' shapes say them
    letters = c[sequence.long()].transpose(1, 2)
    found = torch.nn.functional.conv1d(letters, w.flatten(0, 1).transpose(1, 2), b)
    counted = torch.arange(1, sequence.shape[1] + 1, device=sequence.device) * (sequence != 0)
    lengths = counted.amax(1, keepdim=True) * (sequence[:, :1] != 0)
    windows = torch.arange(found.shape[2], device=sequence.device)
    outside = windows >= (lengths - w.shape[2] + 1).clamp(min=1)
    y = torch.tanh(found.masked_fill(outside.unsqueeze(1), float("-inf")).amax(2))
    return torch.where(lengths > 0, y, 0.0)


@op("SampleOp", domain=DOMAIN)
def sample(x: Tensor) -> Tensor:
    """Return the input: ONNX Runtime's example of an operator of its own."""
    return x.clone()
