"""Pages of HTML: galleries of many videos, reports of trainings."""
