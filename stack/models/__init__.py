"""Small models of our own that answer a known list of questions, so that canary checks are real."""

from stack.models.catalogue import FOLDER, TRAINED, Question, locate, questions, version, weights

__all__ = ["FOLDER", "TRAINED", "Question", "locate", "questions", "version", "weights"]
