"""Decision trees: what volunteers were asked, and after which answers."""

from __future__ import annotations

from gzfound.trees.columns import ColumnMatch
from gzfound.trees.loading import list_trees, load_tree
from gzfound.trees.tree import DecisionTree, Question

__all__ = ["ColumnMatch", "DecisionTree", "Question", "list_trees", "load_tree"]
