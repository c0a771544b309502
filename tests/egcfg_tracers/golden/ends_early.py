# stdin: 
import sys

done = True
sys.exit(3)
