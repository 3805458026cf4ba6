import numpy as np
import pytest

from guards.base import GuardError
from guards.ood import fit
from guards.ood_training import COPIES, MASK, masked, train

torch = pytest.importorskip("torch", reason="training needs torch: pip install '.[cpu]'")

D = 24


def texts_and_masked(layers=2, n=8):
    rng = np.random.default_rng(0)
    keys = (rng.normal(size=(n, layers, D)) + 8 * np.eye(D)[0]).astype(np.float32)
    queries = np.repeat(keys, COPIES, axis=0) + rng.normal(size=(n * COPIES, layers, D)).astype(np.float32)
    return queries.astype(np.float32), keys


def entropy(features, keys):
    """L_CEL of unit features against unit keys, written out."""
    total = 0.0
    for layer in range(keys.shape[1]):
        products = (
            features[:, layer] @ (keys[:, layer] / np.linalg.norm(keys[:, layer], axis=1, keepdims=True)).T / 0.05
        )
        share = np.exp(products - products.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        total += -(share * np.log(share + 1e-30)).sum(axis=1).mean()
    return total


def test_masks_some_words_of_each_text_and_the_same_each_time():
    texts = ["one two three four five six seven eight nine ten", "one", ""]
    found = masked(texts, copies=3)
    assert [text.count(MASK) for text in found] == [2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert all(len(text.split(" ")) == len(texts[i // 3].split(" ")) for i, text in enumerate(found))
    assert found == masked(texts, copies=3)
    assert found != masked(texts, seed=1, copies=3)


def test_the_head_lowers_the_contrastive_entropy_and_stays_close():
    queries, keys = texts_and_masked()
    head = train(queries, keys)
    plain = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
    adapted = head(plain)
    adapted /= np.linalg.norm(adapted, axis=-1, keepdims=True)
    assert entropy(adapted, keys) < 0.9 * entropy(plain, keys)
    assert (adapted * plain).sum(axis=-1).min() > 0.5


def test_training_twice_gives_the_same_detector():
    queries, keys = texts_and_masked()
    ordinary = np.random.default_rng(2).normal(size=(50, 2, D)).astype(np.float32)
    one, two = (fit(keys, ordinary, "encoder", head=train(queries, keys)) for _ in range(2))
    assert one.to_bytes() == two.to_bytes()
    assert one.to_bytes() != fit(keys, ordinary, "encoder", head=train(queries, keys, seed=1)).to_bytes()


def test_what_is_no_number_is_refused():
    queries, keys = texts_and_masked()
    queries[0, 0, 0] = np.nan
    with pytest.raises(GuardError, match="no numbers"):
        train(queries, keys)
