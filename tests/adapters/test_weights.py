from concurrent.futures import ThreadPoolExecutor

import torch
from transformers import AutoConfig

from adapters.weights import causal_lm, skeleton
from gateway.demo.train import quiet


def test_models_that_are_made_at_once_are_all_whole(folder):
    config = AutoConfig.from_pretrained(folder)
    with quiet(), ThreadPoolExecutor(4) as pool:
        made = [pool.submit(causal_lm, folder, torch.float32) for _ in range(12)]
        bare = [pool.submit(skeleton, config) for _ in range(4)]
        first, *others = [one.result().state_dict() for one in made]
    assert all(torch.equal(first[name], one[name]) for one in others for name in first)
    assert all(value.is_meta for one in bare for value in one.result().state_dict().values())
