"""Tokens of packed requests are found behind those of earlier calls."""

from __future__ import annotations

import torch

from onnxsal.importer.packed import Requests

ENDS = torch.tensor([0, 2, 5])
NOW = torch.tensor([10, 11, 20, 21, 22])
EARLIER = torch.tensor([[1, 2], [3, 4]])


def test_every_token_has_a_request_and_a_place_there():
    requests = Requests(ENDS, 5, 2)
    assert requests.owners.tolist() == [0, 0, 1, 1, 1]
    assert requests.places.tolist() == [0, 1, 0, 1, 2]
    assert requests.lengths.tolist() == [2, 3]


def test_places_below_zero_are_of_earlier_calls():
    requests = Requests(ENDS, 5, 2)
    behind = requests.at(NOW, EARLIER, requests.owners, requests.places - 2)
    assert behind.tolist() == [1, 2, 3, 4, 20]
    assert requests.last(NOW, EARLIER, requests.lengths).tolist() == [[10, 11], [21, 22]]
    assert requests.last(NOW, EARLIER, torch.tensor([1, 0])).tolist() == [[2, 10], [3, 4]]


def test_the_same_places_of_every_request():
    requests = Requests(ENDS, 5, 2)
    everybody, places = torch.tensor([[0], [1]]), torch.tensor([-1, 0, 1])
    assert requests.at(NOW, EARLIER, everybody, places).tolist() == [[2, 10, 11], [4, 20, 21]]
    features = requests.at(NOW.unsqueeze(1).expand(5, 3), EARLIER.unsqueeze(2).expand(2, 2, 3), everybody, places)
    assert features.shape == (2, 3, 3)
    assert features[..., 0].tolist() == [[2, 10, 11], [4, 20, 21]]


def test_nothing_came_before():
    requests = Requests(ENDS, 5, 0)
    assert requests.at(NOW, EARLIER[:, :0], requests.owners, requests.places).tolist() == NOW.tolist()
