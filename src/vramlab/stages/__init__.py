"""What the Snakefile and the scripts of its rules need beside the stages themselves."""
