"""Folders of videos and images with captions, to train on."""
