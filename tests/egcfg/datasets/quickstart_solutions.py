"""One right solution per quickstart problem."""


def add(a, b):
    return a + b


def is_even(n):
    return n % 2 == 0


def largest(numbers):
    return max(numbers)


def reverse_text(text):
    return text[::-1]


def factorial(n):
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


def count_vowels(text):
    return sum(letter in "aeiou" for letter in text.lower())


def is_palindrome(text):
    return text.lower() == text.lower()[::-1]


def sum_of_squares(n):
    return sum(number * number for number in range(n + 1))


def fizzbuzz(n):
    word = ("" if n % 3 else "Fizz") + ("" if n % 5 else "Buzz")
    return word or str(n)


def remove_duplicates(items):
    return list(dict.fromkeys(items))


def second_largest(numbers):
    different = sorted(set(numbers))
    return different[-2] if len(different) > 1 else None


def run_lengths(text):
    runs = []
    for letter in text:
        if runs and runs[-1][0] == letter:
            runs[-1] = (letter, runs[-1][1] + 1)
        else:
            runs.append((letter, 1))
    return runs
