"""What consumers report, judged for a whole pool at once: pure, and as one step (fold.py), whatever is duplicated, reordered or late.

shapes     what is known of a pool's traffic between two steps, and of each endpoint's
observers  who reports: which entry counts, and whose word counts (the guard of breakers and weights)
intake     entries sorted into seconds and endpoints, and trials that have ended
slots      each second's calls, nobody's weight above the cap, in an order that claims nothing
judge      the passive policies, played in order of time; their rulings
fold       all of it, in this order
"""
