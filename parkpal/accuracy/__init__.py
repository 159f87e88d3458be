"""How good the detectors are: the dataflow's own kernels over labelled data, beside simpler rules.

`drives` reads real drives whose drivers pressed a button, `cities` simulated ones with exact truth; `detect` sends
either through the kernels; `matching` says what counts as found.
"""
