"""Networks that vote: how their votes are counted, and who may be a member."""
