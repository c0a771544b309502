"""Life inside evaluation harnesses: egcfg as the model that they ask, one module per harness."""
