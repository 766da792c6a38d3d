"""What the verb `predict` does, part by part.

inputs      what is to be restored: a picture, a folder, a pattern, a video
picture     a file's pixels with what must not be lost: orientation, colour profile, alpha
deciding    whether a picture is LR, an enlarged LR, or a photograph with faces
pasting     restored faces go back into their photograph
manifest    what was done with each file; what is done already is not done again
restoring   many files' faces at a time through the network
video       the same, frame by frame
references  how near results are to the truth, where somebody has it
running     the plot: all of it in turn
"""
