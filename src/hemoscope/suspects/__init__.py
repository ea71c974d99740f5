"""Labels that look wrong to networks that were not trained on them: found, ordered, shown and written. Data are never changed."""
