"""The whole line in one run: recipe, stages, folders, cards."""
