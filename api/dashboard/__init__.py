"""The page on which customers see what the analytics say."""
