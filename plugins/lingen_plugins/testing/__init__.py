"""Checks that the author of a plugin calls in tests, one for each kind of record.

    from lingen_plugins.testing import check_plugin
    import my_plugin

    def test_it_keeps_the_contract():
        check_plugin(my_plugin)

`check_plugin` goes through everything that a plugin registers; the others take one record. Each
raises AssertionError with what is wrong and how to put it right. They need no test framework, and
import torch when they are called.
"""

from lingen_plugins.testing.autoencoder import check_autoencoder
from lingen_plugins.testing.dataset import check_dataset
from lingen_plugins.testing.hub_model import check_hub_model
from lingen_plugins.testing.model_variant import check_model_variant
from lingen_plugins.testing.plugin import CHECKS, check_plugin
from lingen_plugins.testing.sampler import check_sampler
from lingen_plugins.testing.scan_order import check_scan_order
from lingen_plugins.testing.text_encoder import check_text_encoder

__all__ = [
    "CHECKS",
    "check_autoencoder",
    "check_dataset",
    "check_hub_model",
    "check_model_variant",
    "check_plugin",
    "check_sampler",
    "check_scan_order",
    "check_text_encoder",
]
