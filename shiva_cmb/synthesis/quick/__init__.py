"""The first generator, for training scans: from a real head's labels to a scan that could be one."""
