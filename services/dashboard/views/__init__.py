"""What the pages show, as data: pure functions that need no Streamlit."""
