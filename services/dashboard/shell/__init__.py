"""The script that Streamlit runs for every visitor."""
