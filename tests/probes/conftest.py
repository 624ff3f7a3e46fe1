"""Programs that tests run in processes of their own are no modules of tests."""

collect_ignore = ["sharded_programs.py"]  # needs eight devices: run by test_sharding.py
