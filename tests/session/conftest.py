"""Programs that tests run in processes of their own are no modules of tests."""

collect_ignore = ["distributed.py"]
