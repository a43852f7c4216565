import numpy as np

from fer_edge.contract import EMOTIONS
from fer_edge.evaluation.class_order import fitting_order

RIGHT = np.diag([40] * 7) + 2
"""Faces by label and answer of a network that is right for three of four."""


def test_labels_turned_by_one_place_are_named():
    turned = RIGHT[:, np.roll(np.arange(7), -1)]
    assert fitting_order(turned, EMOTIONS) == (*EMOTIONS[1:], EMOTIONS[0])


def test_the_right_order_is_left_alone():
    assert fitting_order(RIGHT, EMOTIONS) is None


def test_of_few_faces_nothing_is_said():
    assert fitting_order(np.diag([14] * 7)[::-1], EMOTIONS) is None


def test_random_answers_fit_no_order():
    generator = np.random.default_rng(0)
    for _ in range(20):
        answers = generator.multinomial(200, np.full(49, 1 / 49)).reshape(7, 7)
        assert fitting_order(answers, EMOTIONS) is None


def test_a_class_without_faces_takes_the_place_that_is_left():
    matrix = np.zeros((8, 8), int)
    matrix[:7, 1:] = RIGHT
    labels = (*EMOTIONS, "contempt")
    assert fitting_order(matrix, labels) == ("contempt", *EMOTIONS)
