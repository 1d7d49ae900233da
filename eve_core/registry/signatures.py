"""What the served model of each task reads and answers, by column."""

IMAGE = "binary"

INPUTS = {
    "vqa": {"image": IMAGE, "question": "string"},
    "nlvr2": {"left_image": IMAGE, "right_image": IMAGE, "statement": "string"},
    "retrieval": {"image": IMAGE, "text": "string"},
}
"""Columns of a request by task; a picture is the bytes of an image file."""

OUTPUTS = {
    "vqa": {"answer": "string", "score": "double"},
    "nlvr2": {"answer": "boolean", "score": "double"},
    "retrieval": {"score": "double"},
}
"""Columns of the reply by task, one row a row of the request."""
