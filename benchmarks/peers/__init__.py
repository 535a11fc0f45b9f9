"""Other ways to deliver the same file, each as its documentation shows it, beside ours."""
