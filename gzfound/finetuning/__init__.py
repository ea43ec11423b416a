"""Fine-tuning: what the recipes share; each defines its head, its loss and its report."""

from gzfound.finetuning.config import FinetuneConfig, TargetConfig
from gzfound.finetuning.finetune import finetune
from gzfound.finetuning.task import Task

__all__ = ["FinetuneConfig", "TargetConfig", "Task", "finetune"]
