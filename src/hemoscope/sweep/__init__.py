"""Many runs: which ones (`plan`) and doing them on this machine (`local`)."""
