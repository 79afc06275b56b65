"""The three pages: thin, they ask the client and show what the views say."""
