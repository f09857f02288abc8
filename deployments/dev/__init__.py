"""`anabranch dev`: a document in one process, loaded again when its files change."""
